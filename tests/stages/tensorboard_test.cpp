// Event files are framed as TensorBoard expects (tensorboard_reference.py opens them with TensorBoard
// itself).
#include "cai/stages/tensorboard.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace cai {
namespace {

std::uint32_t word(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, 4);
  return value;
}

TEST(TensorBoard, ChecksumsAreThoseOfTheStandard) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);            // the check value of CRC-32C
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(TensorBoard, EveryRecordHasItsLengthAndBothChecksums) {
  const std::string file =
      event_file({{{"step", 1}, {"loss", 0.5}}, {{"step", 2}, {"loss", nullptr}}}, "sft", 10);
  std::size_t at = 0;
  int records = 0;
  while (at < file.size()) {
    const std::uint32_t length = word(file, at);
    ASSERT_LE(at + 16 + length, file.size());
    for (const auto& [data, sum] :
         {std::pair(file.substr(at, 8), at + 8), std::pair(file.substr(at + 12, length), at + 12 + length)}) {
      const std::uint32_t crc = crc32c(data), masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
      EXPECT_EQ(word(file, sum), masked);
    }
    at += 16 + length;
    ++records;
  }
  EXPECT_EQ(records, 3);  // the version, then one a line
  EXPECT_NE(file.find("brain.Event:2"), file.npos);
  EXPECT_NE(file.find("sft/loss"), file.npos);
  EXPECT_EQ(file.find("sft/loss"), file.rfind("sft/loss")) << "a missing number is no scalar";
}

}  // namespace
}  // namespace cai
