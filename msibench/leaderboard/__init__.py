"""From stored rows to leaderboards: pure functions, no plugin, no torch."""
