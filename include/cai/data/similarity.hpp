// How alike texts are by their words: TF-IDF vectors and their cosine. Plain, fast, and blind to meaning:
// paraphrases do not meet.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace cai {

using WordVector = std::map<std::string, double>;  // of length 1, or empty

/// English words that say nothing of a text's topic.
bool is_function_word(const std::string& word);

/// One vector a text, without function words. Weight of a word: its count in the text times log((1 + texts) /
/// (1 + texts that hold it)) + 1.
std::vector<WordVector> tf_idf(const std::vector<std::string>& texts);

/// Cosine of two such vectors, 0 to 1.
double cosine(const WordVector& a, const WordVector& b);

/// Groups by average link until no two are more alike than `least`: the members' numbers, largest group
/// first. Cubic in the number of vectors.
std::vector<std::vector<std::size_t>> cluster(const std::vector<WordVector>& vectors, double least);

/// The member whose mean similarity to its group is highest.
std::size_t middle(const std::vector<WordVector>& vectors, const std::vector<std::size_t>& group);

}  // namespace cai
