"""What is read: files are found (`inventory`), scans looked at (`scans`), slices packed to be mapped (`pack`).

What is no image is told by its values (`label_maps`), what is not used is counted (`skips`), and scans of one person
are kept together (`subjects`). `catalogue` is the pack as a value and as its JSON file; `chunks` are a pack's arrays in
small files, for travel.
"""
