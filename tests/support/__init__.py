"""What tests share: commands and processes, small models and recipes, strange files."""
