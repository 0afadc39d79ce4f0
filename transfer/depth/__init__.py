"""Depth from single images: a linear layer on a frozen encoder gives every pixel its distance."""
