// Destructors of thread_local objects allocate and free, in threads and in main, and so do static objects' after main.
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct diary {
	std::map<int, std::string> pages;
	~diary()
	{
		for (int i = 0; i < 300; i++)
			pages[i + 1000] = std::string(100, 'y');
		auto more = std::make_unique<std::vector<std::string>>(100, std::string(1000, 'z'));
		more->clear();
	}
};

static diary of_all;
static thread_local diary of_thread;
static thread_local std::unique_ptr<std::string> late;

static void write(int size)
{
	for (int i = 0; i < size; i++)
		of_thread.pages[i] = std::string(i, 'x');
	late = std::make_unique<std::string>(500, 'l');
}

int main()
{
	for (int round = 0; round < 20; round++) {
		std::vector<std::thread> threads;
		for (int i = 0; i < 8; i++)
			threads.emplace_back(write, i * 50);
		for (auto &thread : threads)
			thread.join();
	}
	write(100);
	of_all.pages[1] = "one";
	std::puts("good");
}
