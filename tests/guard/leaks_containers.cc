// A good program: what it has never frees is all held by containers, static and thread-local, and by the pointers that C++
// makes of its own, behind an array's count and to a second base.
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

struct named {
	std::string name = "a name that is too long for the string itself";
	virtual ~named() {}
};
struct first {
	virtual ~first() {}
	char more[56] = {};
};
struct second {
	virtual ~second() {}
	int number = 0;
	char more[84] = {};
};
struct both : first, second {};
static_assert(sizeof(both) == 160, "as leaks.sh counts");

static std::vector<std::string> vector;
static std::map<int, std::string> map;
static std::list<int> list;
static auto *hashed = new std::unordered_map<int, int>;
static named *array = new named[10];
static second *base = new both;
static auto *shared = new std::shared_ptr<named>(std::make_shared<named>());
static thread_local std::vector<int> local;

int main()
{
	for (int i = 0; i < 100; i++) {
		vector.push_back(std::string(100, 'x'));
		map[i] = "a value that is too long for the string itself";
		list.push_back(i);
		(*hashed)[i] = i;
	}
	local.push_back(1);
	std::thread([] { local.push_back(2); }).join();
	std::printf("%zu %d\n", vector.size(), base->number);
	return array == nullptr || *shared == nullptr;
}
