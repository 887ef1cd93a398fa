#include "cai/stages/report_curves.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cai/stages/report_page.hpp"

namespace cai {
namespace {

constexpr double kLeft = 58, kRight = 470, kTop = 14, kBottom = 196;
constexpr std::size_t kMany = 40, kColours = 6, kTicks = 4;

using Series = std::vector<std::pair<std::string, std::vector<double>>>;

struct Axis {
  double low = 0, high = 1, tick = 1;
};

// Bounds and a tick of 1, 2 or 5 times a power of ten, so that about kTicks lines fit.
Axis axis_of(const Series& series) {
  double low = INFINITY, high = -INFINITY;
  for (const auto& [name, values] : series)
    for (const double v : values)
      if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  if (!(low <= high)) return {};
  if (high - low < 1e-12 * std::max(1.0, std::abs(high))) low -= 0.5, high += 0.5;
  const double rough = (high - low) / kTicks, power = std::pow(10, std::floor(std::log10(rough)));
  double tick = 10 * power;
  for (const double step : {1.0, 2.0, 5.0})
    if (rough <= step * power) {
      tick = step * power;
      break;
    }
  return {std::floor(low / tick) * tick, std::ceil(high / tick) * tick, tick};
}

double x_of(std::size_t i, std::size_t n) {
  return n < 2 ? kLeft : kLeft + (kRight - kLeft) * static_cast<double>(i) / static_cast<double>(n - 1);
}

double y_of(double v, const Axis& axis) {
  return kBottom - (kBottom - kTop) * (v - axis.low) / (axis.high - axis.low);
}

std::string path(const std::vector<double>& values, const Axis& axis, const std::string& kind) {
  std::string points;
  bool is_down = false;  // the pen; lifted where a value is missing
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      is_down = false;
      continue;
    }
    char point[48];
    std::snprintf(point, sizeof point, "%c%.1f %.1f", is_down ? 'L' : 'M', x_of(i, values.size()),
                  y_of(values[i], axis));
    points += point;
    is_down = true;
  }
  return "<path class=\"line " + kind + "\" d=\"" + points + "\" />";
}

// The mean of a window of a tenth of all steps around each.
std::vector<double> smoothed(const std::vector<double>& values) {
  const std::ptrdiff_t n = static_cast<std::ptrdiff_t>(values.size()),
                       half = std::max<std::ptrdiff_t>(2, n / 20);
  std::vector<double> means;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    double sum = 0, count = 0;
    for (std::ptrdiff_t k = std::max<std::ptrdiff_t>(0, i - half); k <= std::min(n - 1, i + half); ++k)
      if (std::isfinite(values[static_cast<std::size_t>(k)]))
        sum += values[static_cast<std::size_t>(k)], ++count;
    means.push_back(count > 0 ? sum / count : NAN);
  }
  return means;
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  char place[96];
  std::snprintf(place, sizeof place, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">", x, y, anchor);
  return place + escape(text) + "</text>";
}

std::string frame(const Axis& axis, std::size_t steps, const std::string& step) {
  std::string text;
  for (double v = axis.low; v <= axis.high + axis.tick / 2; v += axis.tick) {
    const double y = y_of(v, axis);
    char line[120];
    std::snprintf(line, sizeof line,
                  "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\" />", kLeft, kRight, y,
                  y);
    text += line + text_at(kLeft - 6, y + 4, "end", number(std::abs(v) < axis.tick / 1e6 ? 0 : v, 4));
  }
  return text + text_at(kLeft, kBottom + 18, "start", "1") +
         text_at((kLeft + kRight) / 2, kBottom + 18, "middle", step) +
         text_at(kRight, kBottom + 18, "end", std::to_string(steps));
}

std::string legend(const Series& series) {
  std::string text = "<div class=\"legend\">";
  for (std::size_t s = 0; s < series.size(); ++s)
    text += "<span><svg viewBox=\"0 0 24 10\" aria-hidden=\"true\"><path class=\"line s" +
            std::to_string(s % kColours) + "\" d=\"M0 5L24 5\" /></svg>" + escape(series[s].first) +
            "</span>";
  return text + "</div>";
}

}  // namespace

std::string curve_figure(const Curve& curve) {
  std::size_t steps = 0;
  for (const auto& [name, values] : curve.series)
    steps = std::max(steps, values.size());
  if (steps < 2) return "";
  const Axis axis = axis_of(curve.series);
  std::string lines;
  for (std::size_t s = 0; s < curve.series.size(); ++s) {
    const std::vector<double>& values = curve.series[s].second;
    const std::string colour = "s" + std::to_string(s % kColours);
    if (values.size() >= kMany) lines += path(values, axis, colour + " faint");
    lines += path(values.size() >= kMany ? smoothed(values) : values, axis, colour);
  }
  const std::string caption = curve.title + (curve.unit.empty() ? "" : ", " + curve.unit);
  return "<figure><figcaption>" + escape(caption) +
         "</figcaption><svg viewBox=\"0 0 480 224\" role=\"img\" aria-label=\"" + escape(caption) + "\">" +
         frame(axis, steps, curve.step) + lines + "</svg>" +
         (curve.series.size() > 1 ? legend(curve.series) : "") + "</figure>";
}

}  // namespace cai
