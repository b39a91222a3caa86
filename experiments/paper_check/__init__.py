"""DeepSeek-V2-Lite on three GPUs against arXiv 2511.10676: its timings, then what it left open."""
