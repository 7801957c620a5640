"""The text of token ids, for the peers that read words: the end token, the unknown token, then w00002, w00003 ..."""


def tokens(spec):
    special = ["<pad>", "</s>", "<unk>"] if spec["family"] == "t5" else ["</s>", "<unk>"]
    return special + [f"\u2581w{id:05d}" for id in range(len(special), spec["vocabulary"])]
