// Virtual calls, exceptions, std::function, templates and threads of C++.
//
// objects ROUNDS
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Node {
    virtual ~Node() = default;
    virtual int eval(int depth) = 0;
};

static unsigned seed = 7;
static unsigned next_random() { return (seed = seed * 1103515245 + 12345) >> 16; }
static std::unique_ptr<Node> make(int depth);

struct Leaf : Node {
    std::string text = std::string(40 + next_random() % 20, 'x');
    int eval(int) override { return text.size(); }
};

struct Pair : Node {
    std::unique_ptr<Node> left, right;
    explicit Pair(int depth) : left(make(depth - 1)), right(make(depth - 1)) {}
    int eval(int depth) override {
        std::vector<int> values(3 + depth);
        values[0] = left->eval(depth + 1);
        return values[0] + right->eval(depth + 1);
    }
};

struct Thrower : Node {
    std::unique_ptr<Node> inner;
    explicit Thrower(int depth) : inner(make(depth - 1)) {}
    int eval(int depth) override {
        try {
            std::map<int, std::string> names;
            names[depth] = "a string too long to be stored in place";
            if (depth % 3 == 0) throw std::runtime_error("x" + names[depth]);
            return inner->eval(depth + 1);
        } catch (const std::exception &error) {
            std::string what = error.what();
            return what.size() + inner->eval(depth + 1);
        }
    }
};

struct Function : Node {
    std::function<int(int)> call;
    explicit Function(int depth) {
        auto inner = std::shared_ptr<Node>(make(depth - 1).release());
        call = [inner](int depth) {
            std::ostringstream out;
            out << depth << " " << 1.5;
            return static_cast<int>(out.str().size()) + inner->eval(depth + 1);
        };
    }
    int eval(int depth) override { return call(depth); }
};

static std::unique_ptr<Node> make(int depth) {
    if (depth <= 0) return std::make_unique<Leaf>();
    switch (next_random() % 3) {
    case 0: return std::make_unique<Pair>(depth);
    case 1: return std::make_unique<Thrower>(depth);
    default: return std::make_unique<Function>(depth);
    }
}

int main(int count, char **words) {
    int rounds = count > 1 ? std::atoi(words[1]) : 3;
    long total = 0;
    for (int i = 0; i < rounds; i++) {
        total += make(12)->eval(1);
        std::regex pattern("([a-z]+)([0-9]+)(x|y)*");
        std::smatch found;
        std::string text = "abc123xyx";
        total += std::regex_match(text, found, pattern);
        std::thread([&] {
            total += make(8)->eval(1);
            std::vector<std::string> words;
            for (int i = 0; i < 50; i++) words.push_back(std::to_string(next_random()) + " and enough to allocate");
            std::stable_sort(words.begin(), words.end());
        }).join();
    }
    std::cout << total << "\n";
}
