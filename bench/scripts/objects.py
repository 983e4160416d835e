"""Strings, dicts, lists, objects and JSON in Python: the workloads python and python-malloc of the benchmarks.

python uses the interpreter as it is (blocks up to 512 bytes come from its own pools); python-malloc sets
PYTHONMALLOC=malloc, so that every object is a call of malloc. Prints a checksum of what it made."""

import json
import random
import zlib

ROUNDS = 10
ROWS = 15000


class Word:
    def __init__(self, text):
        self.text = text
        self.rows = []


def records(generator, count):
    return [{"id": n, "name": "".join(generator.choices("abcdefghij", k=generator.randrange(4, 40))),
             "tags": [f"tag-{generator.randrange(1000)}" for _ in range(generator.randrange(6))],
             "score": generator.random()} for n in range(count)]


def words_of(rows):
    """{text: Word}, each with the rows that it stands in."""
    words = {}
    for row in rows:
        for text in (row["name"] + " " + " ".join(row["tags"])).replace("c", " ").split():
            if text not in words:
                words[text] = Word(text)
            words[text].rows.append(row["id"])
    return words


def main():
    generator = random.Random(1)
    kept, checksum = [], 0
    for _ in range(ROUNDS):
        rows = json.loads(json.dumps(records(generator, ROWS)))
        words = words_of(rows)
        kept.append({text: word for text, word in words.items() if len(word.rows) > 1})
        rows.sort(key=lambda row: (len(row["tags"]), row["name"]))
        text = "\n".join(",".join(map(str, row.values())) for row in rows)
        checksum = zlib.crc32(text.encode(), checksum)
        if len(kept) > 3:
            kept.pop(0)
    print("checksum", checksum, sum(len(words) for words in kept))


main()
