#include "cai/data/similarity.hpp"

#include <gtest/gtest.h>

namespace cai {
namespace {

TEST(Similarity, IsOneForTheSameWordsAndNothingForOthers) {
  const auto v = tf_idf({"How do I bake bread?", "how do i BAKE bread", "Where is my coat?", ""});
  EXPECT_NEAR(cosine(v[0], v[1]), 1, 1e-12);
  EXPECT_EQ(cosine(v[0], v[2]), 0);
  EXPECT_EQ(cosine(v[0], v[3]), 0);
}

TEST(Similarity, RareWordsCountMoreThanCommonOnes) {
  const auto v = tf_idf({"the zebra", "the zebra sleeps", "the dog sleeps", "the cat", "the cow"});
  EXPECT_GT(cosine(v[0], v[1]), cosine(v[0], v[2]));
}

TEST(Similarity, GroupsWhatIsAlikeLargestFirstAndNamesTheMiddle) {
  const auto v = tf_idf({"be kind to all people", "name the risk of each product", "be kind to people",
                         "be very kind to all people", "answer in one sentence"});
  const auto groups = cluster(v, 0.3);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0], (std::vector<std::size_t>{0, 2, 3}));
  EXPECT_EQ(middle(v, groups[0]), 0u);
  EXPECT_TRUE(cluster({}, 0.3).empty());
}

}  // namespace
}  // namespace cai
