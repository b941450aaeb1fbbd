"""How far every pixel of a finer image can be trusted: intervals that hold the truth as often as they claim."""
