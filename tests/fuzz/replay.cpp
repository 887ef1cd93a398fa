// Runs every fuzz target on its checked-in corpus and on mutations of it, the same ones each time. For
// machines without clang's libFuzzer; it finds what comes back, not what is new.
//   replay CORPUS MUTATIONS [SEED [TARGET]]
#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/io/file.hpp"
#include "fuzz.hpp"

namespace cai::fuzz {
namespace {

std::map<std::string, void (*)(std::string_view)>& targets() {
  static std::map<std::string, void (*)(std::string_view)> all;
  return all;
}

// One to eight changes, each of a kind that breaks parsers: a bit, a byte that means something, a piece out,
// twice, or from elsewhere.
std::string mutated(const std::vector<std::string>& corpus, Random& random) {
  static const std::string pieces[] = {"\"",
                                       "\\",
                                       "{",
                                       "}",
                                       "[",
                                       "]",
                                       ":",
                                       ",",
                                       "\n",
                                       "\t",
                                       std::string(1, '\0'),
                                       "\xff",
                                       "\xe2\x80\xae",
                                       "\xf0\x9f\x8c\x8d",
                                       "-1",
                                       "1e999",
                                       "18446744073709551615",
                                       "null",
                                       "true",
                                       "\x1b[31m",
                                       "<|im_end|>",
                                       "&a *a",
                                       std::string(8, '\xff'),
                                       std::string(8, '\0'),
                                       std::string(4, '\x7f')};
  std::string text = corpus[random.below(corpus.size())];
  for (std::uint64_t n = 1 + random.below(8); n > 0; --n) {
    const std::size_t at = random.below(text.size() + 1), left = text.size() - at,
                      length = std::min<std::size_t>(left, 1 + random.below(16));
    const std::string& other = corpus[random.below(corpus.size())];
    switch (random.below(6)) {
      case 0:
        if (left > 0) text[at] = static_cast<char>(text[at] ^ (1 << random.below(8)));
        break;
      case 1: text.insert(at, pieces[random.below(std::size(pieces))]); break;
      case 2: text.erase(at, length); break;
      case 3: text.insert(at, text.substr(at, length)); break;
      case 4: text.replace(at, length, pieces[random.below(std::size(pieces))]); break;
      case 5: text.insert(at, other.substr(random.below(other.size() + 1), 64)); break;
    }
  }
  return text.substr(0, 1 << 16);
}

std::vector<std::string> corpus_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  for (const auto& file : files)
    corpus.push_back(read_file(file));
  return corpus;
}

}  // namespace

bool add_target(const char* name, void (*run)(std::string_view)) {
  return targets().emplace(name, run).second;
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: replay CORPUS MUTATIONS [SEED [TARGET]]\n");
    return kBadInput;
  }
  const long mutations = std::atol(argv[2]);
  const std::uint64_t seed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1;
  for (const auto& [name, target] : targets()) {
    if (argc > 4 && name != argv[4]) continue;
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<std::string> corpus = corpus_of(std::filesystem::path(argv[1]) / name);
    hold(!corpus.empty(), ("a corpus of " + name).c_str());
    const std::filesystem::path last =
        std::filesystem::temp_directory_path() / ("cai-fuzz-" + name);  // what was run when the program died
    const auto one = [&](const std::string& input) {
      std::ofstream(last, std::ios::binary) << input;
      target(input);
    };
    for (const std::string& input : corpus)
      one(input);
    Random random = Random(seed).derive(name);
    for (long i = 0; i < mutations; ++i)
      one(mutated(corpus, random));
    std::filesystem::remove(last);
    std::printf("%-14s seed %llu: %zu of the corpus and %ld mutations held, %.1f s\n", name.c_str(),
                static_cast<unsigned long long>(seed), corpus.size(), mutations,
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    std::fflush(stdout);
  }
  return kDone;
}

}  // namespace cai::fuzz

int main(int argc, char** argv) {
  return cai::fuzz::run(argc, argv);
}
