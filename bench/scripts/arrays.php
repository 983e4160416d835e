<?php
// Arrays, strings, objects and JSON in PHP: the workload php of the benchmarks. With USE_ZEND_ALLOC=0 every block is a
// malloc. Prints a checksum of what it made.
const ROUNDS = 27;
const ROWS = 12000;

class Entry
{
    public array $links = [];

    public function __construct(public string $name, public int $weight)
    {
    }
}

function below(int $limit): int
{
    static $state = 1;
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return ($state >> 8) % $limit;
}

function rows(int $count): array
{
    $rows = [];
    for ($n = 0; $n < $count; $n++) {
        $tags = [];
        for ($t = below(6); $t > 0; $t--)
            $tags[] = 'tag-' . below(1000);
        $rows[] = ['id' => $n, 'name' => str_repeat(chr(97 + below(26)), 4 + below(60)) . below(100), 'tags' => $tags];
    }
    return $rows;
}

/** The entries by tag, linked with those that they share a row with. */
function graph(array $rows): array
{
    $entries = [];
    foreach ($rows as $row) {
        foreach ($row['tags'] as $tag)
            $entries[$tag] ??= new Entry($tag, strlen($row['name']));
        foreach ($row['tags'] as $n => $tag)
            if ($n > 0)
                $entries[$tag]->links[$row['tags'][0] . ':' . $row['id']] = $entries[$row['tags'][0]];
    }
    return $entries;
}

$checksum = 0;
$kept = [];
for ($round = 0; $round < ROUNDS; $round++) {
    $rows = json_decode(json_encode(rows(ROWS)), true);
    $entries = graph($rows);
    ksort($entries);
    usort($rows, fn($a, $b) => [count($a['tags']), $a['name'], $a['id']] <=> [count($b['tags']), $b['name'], $b['id']]);
    $lines = [];
    foreach ($rows as $row) {
        $line = implode(',', array_map('strtoupper', explode('a', $row['name'])));
        foreach ($row['tags'] as $tag)
            $line .= ' ' . $tag;
        $lines[] = $line;
    }
    $text = preg_replace('/TAG-(\d)/i', '<$1>', implode("\n", $lines));
    $checksum = crc32($checksum . $text);
    $kept[$round % 3] = $entries;
}
$links = array_sum(array_map(fn($entries) => array_sum(array_map(fn($entry) => count($entry->links), $entries)), $kept));
echo "checksum $checksum $links\n";
