"""What an input is, in words: `coslice inspect`.

path  ->  `recognised`: which kind of input it is
      ->  `of_scans`, `of_projections`, `of_scanners`, `of_records`: a `Description`
      ->  lines on the terminal, JSON, a picture
"""
