"""SMSDL-Net (Lin et al. 2025): reimplementation from the abstract."""
