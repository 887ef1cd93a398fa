#include "cai/data/similarity.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "cai/base/text.hpp"

namespace cai {

bool is_function_word(const std::string& word) {
  static const std::set<std::string> words = {
      "a",     "about", "all",   "am",   "an",     "and",   "any",   "anyone",  "are",   "as",
      "at",    "be",    "been",  "but",  "by",     "can",   "could", "do",      "does",  "doing",
      "for",   "from",  "get",   "had",  "has",    "have",  "he",    "her",     "him",   "his",
      "how",   "i",     "if",    "in",   "into",   "is",    "it",    "its",     "just",  "like",
      "may",   "me",    "might", "more", "most",   "must",  "my",    "of",      "on",    "one",
      "or",    "our",   "out",   "she",  "should", "so",    "some",  "someone", "such",  "than",
      "that",  "the",   "their", "them", "then",   "there", "these", "they",    "this",  "those",
      "to",    "up",    "us",    "very", "was",    "we",    "were",  "what",    "whats", "when",
      "where", "which", "who",   "why",  "will",   "with",  "would", "you",     "your"};
  return words.count(word) > 0;
}

std::vector<WordVector> tf_idf(const std::vector<std::string>& texts) {
  std::vector<WordVector> vectors(texts.size());
  std::map<std::string, double> holders;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (const std::string& word : words_of(texts[i]))
      if (!is_function_word(word)) vectors[i][word] += 1;
    for (const auto& [word, count] : vectors[i])
      holders[word] += 1;
  }
  const double n = static_cast<double>(texts.size());
  for (WordVector& v : vectors) {
    double squares = 0;
    for (auto& [word, weight] : v)
      weight *= std::log((1 + n) / (1 + holders[word])) + 1, squares += weight * weight;
    for (auto& [word, weight] : v)
      weight /= std::sqrt(squares);
  }
  return vectors;
}

double cosine(const WordVector& a, const WordVector& b) {
  double sum = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    if (x->first < y->first)
      ++x;
    else if (y->first < x->first)
      ++y;
    else
      sum += x++->second * y++->second;
  }
  return sum;
}

std::vector<std::vector<std::size_t>> cluster(const std::vector<WordVector>& vectors, double least) {
  std::vector<std::vector<std::size_t>> groups;
  std::vector<std::vector<double>> alike(vectors.size(),
                                         std::vector<double>(vectors.size()));  // mean similarity of groups
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    groups.push_back({i});
    for (std::size_t j = 0; j < i; ++j)
      alike[i][j] = alike[j][i] = cosine(vectors[i], vectors[j]);
  }
  for (;;) {
    std::size_t x = 0, y = 0;
    double best = -1;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].empty()) continue;
      for (std::size_t j = 0; j < i; ++j)
        if (!groups[j].empty() && alike[i][j] > best) best = alike[i][j], x = j, y = i;
    }
    if (best < least) break;
    const double nx = static_cast<double>(groups[x].size()), ny = static_cast<double>(groups[y].size());
    for (std::size_t k = 0; k < groups.size(); ++k)
      alike[x][k] = alike[k][x] = (nx * alike[x][k] + ny * alike[y][k]) / (nx + ny);
    groups[x].insert(groups[x].end(), groups[y].begin(), groups[y].end());
    groups[y].clear();
  }
  std::erase_if(groups, [](const auto& g) { return g.empty(); });
  for (auto& g : groups)
    std::sort(g.begin(), g.end());
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  return groups;
}

std::size_t middle(const std::vector<WordVector>& vectors, const std::vector<std::size_t>& group) {
  std::size_t best = group.front();
  double highest = -1;
  for (const std::size_t i : group) {
    double sum = 0;
    for (const std::size_t j : group)
      sum += cosine(vectors[i], vectors[j]);
    if (sum > highest + 1e-12) highest = sum, best = i;
  }
  return best;
}

}  // namespace cai
