"""DeepFERE (Guo et al. 2023): registration, mapping and fusion fitted to one section."""
