"""The shared vocabulary: tasks, recipes, records, encoders, and the engine that trains. Imports no other room."""
