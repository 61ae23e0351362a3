"""Small helpers that know nothing of hal: whole files, trees of arrays, reading ahead, ending with the parent."""
