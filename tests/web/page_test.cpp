// Pages are filled once, and their policy names exactly their own style and script.
#include "cai/web/page.hpp"

#include <gtest/gtest.h>

#include "cai/base/error.hpp"
#include "cai/web/files.hpp"

namespace cai {
namespace {

TEST(WebPage, EachNameIsReplacedOnceAndValuesStayAsTheyAre) {
  EXPECT_EQ(fill_page("<b>{{a}}</b>{{b}}{{a}}", {{"a", "{{b}}"}, {"b", "}}{{"}}), "<b>{{b}}</b>}}{{{{b}}");
  EXPECT_EQ(fill_page("none", {}), "none");
}

TEST(WebPage, AMissingAndAnUnusedNameAreBugs) {
  EXPECT_THROW(fill_page("{{a}}", {}), Bug);
  EXPECT_THROW(fill_page("", {{"a", "1"}}), Bug);
  EXPECT_THROW(fill_page("{{a", {{"a", "1"}}), Bug);
}

TEST(WebPage, PolicyHashesAreThoseOfTheStandard) {
  // The example of CSP level 2, section 7.17.2 (for alert('Hello, world.');), and the empty text.
  EXPECT_EQ(policy_hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
  EXPECT_EQ(policy_hash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
}

TEST(WebPage, TheFilesAreEmbeddedToTheLastByte) {
  EXPECT_TRUE(kReportHtml.starts_with("<!doctype html>"));
  EXPECT_TRUE(kReviewHtml.ends_with("</html>\n"));
  for (const std::string_view text : {kReportCss, kReportJs, kReviewCss, kReviewJs}) {
    EXPECT_GT(text.size(), 1000u);
    EXPECT_EQ(text.back(), '\n');
    EXPECT_EQ(text.find("</s"), text.npos) << "would end the element that it is put into";
  }
}

}  // namespace
}  // namespace cai
