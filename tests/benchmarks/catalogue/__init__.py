"""Tasks, backbones, published numbers, lists."""
