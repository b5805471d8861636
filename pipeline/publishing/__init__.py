"""A finished run -> the Hugging Face Hub: checks, uploads, cards."""
