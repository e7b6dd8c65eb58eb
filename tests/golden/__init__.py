"""Golden files of every dialect: one case a file, four parts on one screen. How they are written: golden_files.py."""
