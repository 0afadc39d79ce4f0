"""Layouts and architectures of Swin and SwinV2."""
