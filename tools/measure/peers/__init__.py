"""What needs packages of others, installed in data/runs and not in the environment."""
