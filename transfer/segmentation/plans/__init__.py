"""What mmsegmentation is asked to build: from a recipe, from a user's config, from the config of a model of others."""
