// The page of cai review --web: one file, no outside resource.
#pragma once

#include <string>

namespace cai {

std::string review_page();

}  // namespace cai
