"""Eyes, lids, mouth, ears and teeth."""
