"""What is read: scans are found and looked at (`scans`), their slices packed into files that can be mapped (`pack`).

`catalogue` is the pack as a value and as its JSON file; `chunks` are a pack's arrays in small files, for travel.
"""
