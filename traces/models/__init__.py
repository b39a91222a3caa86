"""Model shapes: what one is, the catalogue (YAML), the Hugging Face reader."""
