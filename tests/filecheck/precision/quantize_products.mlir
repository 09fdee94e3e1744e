// RUN: attnc-opt %s -p quantize-products | filecheck %s

// A product: rows by their greatest magnitude, weights by column.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<4x2xf32>) -> tensor<4x2xf32> {
  %w = nn.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  // CHECK: [[SIZE:%.*]] = nn.map "abs"(%x)
  // CHECK: [[MOST:%.*]] = nn.reduce max [[SIZE]] axes [1] {{.*}} -> tensor<4x1xf32>
  // CHECK: [[SAFE:%.*]] = nn.map "max"([[MOST]], %{{.*}})
  // CHECK: [[FACTOR:%.*]] = nn.map "mul"([[SAFE]], %{{.*}})
  // CHECK: [[RATIO:%.*]] = nn.map "div"(%x, [[FACTOR]])
  // CHECK: [[LEVEL:%.*]] = nn.map "rint"([[RATIO]])
  // CHECK: [[BYTES:%.*]] = nn.cast [[LEVEL]] {{.*}} to tensor<4x2xi8>
  // CHECK: [[WEIGHTS:%.*]] = nn.constant #nn.ref<"int8({{.*}}; axis=0)"> {{.*}} : tensor<2x2xi8>
  // CHECK: [[COLUMNS:%.*]] = nn.constant #nn.ref<"int8_factor({{.*}}; axis=0)"> {{.*}} : tensor<1x2xf32>
  // CHECK: [[SUM:%.*]] = nn.matmul [[BYTES]], [[WEIGHTS]] {path = "up"} : (tensor<4x2xi8>, tensor<2x2xi8>) -> tensor<4x2xi32>
  // CHECK: nn.cast [[SUM]]
  %a = nn.matmul %x, %w {path = "up"} : (tensor<4x2xf32>, tensor<2x2xf32>) -> tensor<4x2xf32>
  func.return %a : tensor<4x2xf32>
}

// Attention: queries and keys by token, values by channel; the mask stays as it is.
// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<1x2x3x4xf32>, %k: tensor<1x1x5x4xf32>, %v: tensor<1x1x5x6xf32>, %m: tensor<1x1x3x5xi1>) -> tensor<1x2x3x6xf32> {
  // CHECK: sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} mask %{{.*}} : tensor<1x1x3x5xi1> q_scale %{{.*}} : tensor<1x2x3x1xf32> k_scale %{{.*}} : tensor<1x1x5x1xf32> v_scale %{{.*}} : tensor<1x1x1x6xf32> scale 5.000000e-01 fill -1.000000e+30 empty_row uniform
  // CHECK-SAME: (tensor<1x2x3x4xi8>, tensor<1x1x5x4xi8>, tensor<1x1x5x6xi8>) -> tensor<1x2x3x6xf32>
  %a = sattn.attention q %q k %k v %v mask %m : tensor<1x1x3x5xi1> scale 5.0e-01 fill -1.0e+30 empty_row uniform : (tensor<1x2x3x4xf32>, tensor<1x1x5x4xf32>, tensor<1x1x5x6xf32>) -> tensor<1x2x3x6xf32>
  func.return %a : tensor<1x2x3x6xf32>
}
