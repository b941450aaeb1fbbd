"""What a run keeps: keys, records, and the folder that holds them."""
