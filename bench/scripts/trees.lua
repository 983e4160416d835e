-- Tables, strings and closures in Lua: the workload lua of the benchmarks. Every table, string and closure is a malloc.
-- Prints a checksum of what it made.
local ROUNDS, DEPTH, LINES = 18, 13, 15000

local state = 1
local function below(limit)
	state = (state * 1103515245 + 12345) & 0x7fffffff
	return (state >> 8) % limit
end

local function tree(depth)
	if depth == 0 then return {} end
	return {left = tree(depth - 1), right = tree(depth - 1), depth = depth}
end

local function nodes(node)
	return node.left and 1 + nodes(node.left) + nodes(node.right) or 1
end

local function text_of_lines(count)
	local lines = {}
	for n = 1, count do
		local words = {}
		for w = 1, 2 + below(6) do words[w] = "w" .. below(3000) .. ("x"):rep(below(20)) end
		lines[n] = table.concat(words, " ")
	end
	return table.concat(lines, "\n")
end

-- A map from each word to a function that counts it, and the words in order.
local function counters_of(text)
	local counters, order = {}, {}
	for word in text:gmatch("%S+") do
		local count = counters[word]
		if not count then
			local seen = 0
			count = function(n) seen = seen + n; return seen end
			counters[word] = count
			order[#order + 1] = word
		end
		count(1)
	end
	table.sort(order)
	return counters, order
end

local checksum, kept = 0, {}
local function add(n) checksum = (checksum * 31 + n) & 0x7fffffff end

for round = 1, ROUNDS do
	kept[round % 3 + 1] = tree(DEPTH)
	for _ = 1, 20 do add(nodes(tree(DEPTH - 4))) end
	local text = text_of_lines(LINES)
	local counters, order = counters_of(text)
	for _, word in ipairs(order) do add(counters[word](0) + #word) end
	local changed = text:gsub("w(%d+)x", "<%1>")
	for n = 1, #changed, 97 do add(changed:byte(n)) end
end
print("checksum " .. checksum .. " " .. nodes(kept[1]))
