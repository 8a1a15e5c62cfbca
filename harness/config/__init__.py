"""The only readers of configuration files and the environment."""
