"""Downloaded captions and photos -> tar shards in the convention of WebDataset.

known         data sets by name: their files, sizes, checksums and splits
checks        whether downloads are complete, and how to complete them
shrink        a photo as it goes into a shard
shard_plan    which photo goes into which shard
write_shards  writing them, resuming after a kill
"""
