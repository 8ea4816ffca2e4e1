"""From a picture to a network's input.

`decode` reads it (`plain` without Pillow), `recipes` prepare it as each source does. `pixels` has their stages after
decoding, `resample` their resizing.
"""
