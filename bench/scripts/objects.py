"""Strings, dicts, lists and JSON in Python: the workloads python and python-malloc of bench/run.

python uses the interpreter as it is (blocks up to 512 bytes come from its own pools); python-malloc sets
PYTHONMALLOC=malloc, so that every object is a call of malloc."""

import json
import random


def records(generator, count):
    return [{"id": n, "name": "".join(generator.choices("abcdefghij", k=generator.randrange(4, 40))),
             "tags": [f"tag-{generator.randrange(1000)}" for _ in range(generator.randrange(6))],
             "score": generator.random()} for n in range(count)]


def words_counted(rows):
    counts = {}
    for row in rows:
        for word in (row["name"] + " " + " ".join(row["tags"])).replace("c", " ").split():
            counts[word] = counts.get(word, 0) + 1
    return counts


def main():
    generator = random.Random(1)
    kept = []
    for _ in range(6):
        rows = json.loads(json.dumps(records(generator, 15000)))
        counts = words_counted(rows)
        kept.append({word: count for word, count in counts.items() if count > 1})
        rows.sort(key=lambda row: (len(row["tags"]), row["name"]))
        text = "\n".join(",".join(map(str, row.values())) for row in rows)
        assert len(text.split("\n")) == len(rows)
        if len(kept) > 3:
            kept.pop(0)


main()
