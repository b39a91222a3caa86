"""Records routing while a transformers model generates. Needs the ``capture`` extra."""
