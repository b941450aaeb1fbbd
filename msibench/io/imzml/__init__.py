"""Read and write imzML pairs: one pass over a memory map, any odd file, bounded."""
