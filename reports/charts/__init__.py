"""The charts of both pages, as inline SVG."""
