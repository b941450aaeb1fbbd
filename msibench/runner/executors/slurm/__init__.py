"""Cells on a SLURM cluster, through submitit or as plain ``sbatch`` scripts."""
