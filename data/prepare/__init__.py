"""Downloaded captions and photos -> tar shards in the convention of WebDataset.

known         the data sets that are known by name: their files, sizes, checksums and splits
checks        whether the files are there and whole, and what is to be done where they are not
shrink        a photo as it goes into a shard
shard_plan    which photo goes into which shard
write_shards  writing them, going on after a kill
"""
