"""How Python becomes machine code; knows nothing of experts."""
