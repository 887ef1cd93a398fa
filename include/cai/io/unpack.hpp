// Compressed files, told by their first bytes.
#pragma once

#include <string>

namespace cai {

/// The bytes as they are, or what they hold where they begin as gzip (.gz) or Zstandard (.zst) does. Throws
/// InputError naming `file` when such data are not whole, or unpack to more than 4 GB.
std::string unpack(std::string bytes, const std::string& file);

}  // namespace cai
