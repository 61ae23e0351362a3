"""Small helpers that know nothing of hal: files that appear whole, reading ahead, ending with the parent."""
