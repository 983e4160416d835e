# Objects, strings, hashes and JSON in Ruby: the workload ruby of the benchmarks. Objects are slots of Ruby's own heap;
# what doesn't fit in a slot - longer strings, arrays, hash tables - is a malloc. Prints a checksum of what it made.
require 'json'
require 'zlib'

ROUNDS = 10
ORDERS = 8000

Item = Struct.new(:name, :price, :count)

class Order
  attr_reader :id, :items, :notes

  def initialize(id, items)
    @id = id
    @items = items
    @notes = {}
  end

  def total
    @items.sum { |item| item.price * item.count }
  end

  def to_h
    { id: @id, total: total, notes: @notes, items: @items.map(&:to_h) }
  end
end

def order(random, id)
  items = Array.new(random.rand(1..6)) do
    Item.new('item ' + 'abcdefgh'[random.rand(8)] * random.rand(1..60), random.rand(10_000), random.rand(1..9))
  end
  made = Order.new(id, items)
  random.rand(4).times { |n| made.notes["note-#{random.rand(500)}"] = "of order #{id}, the #{n}th, " * random.rand(1..4) }
  made
end

random = Random.new(1)
kept = []
checksum = 0
ROUNDS.times do
  orders = Array.new(ORDERS) { |id| order(random, id) }
  text = JSON.generate(orders.map(&:to_h))
  rows = JSON.parse(text)
  by_name = Hash.new { |hash, name| hash[name] = [] }
  rows.each { |row| row['items'].each { |item| by_name[item['name']] << row['id'] } }
  lines = rows.sort_by { |row| [row['total'], row['id']] }.map { |row| "#{row['id']};#{row['notes'].keys.join(',')}" }
  table = +''
  lines.each { |line| table << line.gsub(/note-(\d)/) { "n#{$1}" } << "\n" }
  checksum = Zlib.crc32(table, checksum)
  kept << by_name
  kept.shift if kept.size > 3
end
puts "checksum #{checksum} #{kept.sum(&:size)}"
