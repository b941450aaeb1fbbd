"""Training and fine-tuning on ion images, shared by the plugins that learn."""
