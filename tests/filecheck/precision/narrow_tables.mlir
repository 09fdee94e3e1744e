// RUN: attnc-opt %s -p narrow-tables,remove-unused | filecheck %s

// CHECK: func.func @main
func.func @main(%ids: tensor<5xi32>) -> tensor<5x4xf32> {
  %table = nn.constant dense<7> : tensor<3x4xi8>
  %rows = nn.constant dense<[[1.0], [2.0], [3.0]]> : tensor<3x1xf32>
  %wide = nn.cast %table : tensor<3x4xi8> to tensor<3x4xf32>
  %scaled = nn.map "mul"(%wide, %rows) : (tensor<3x4xf32>, tensor<3x1xf32>) -> tensor<3x4xf32>
  // CHECK: [[BYTES:%.*]] = nn.gather_rows %{{.*}}[%ids] limit 3 : (tensor<3x4xi8>, tensor<5xi32>) -> tensor<5x4xi8>
  // CHECK: [[WIDE:%.*]] = nn.cast [[BYTES]] : tensor<5x4xi8> to tensor<5x4xf32>
  // CHECK: [[FACTOR:%.*]] = nn.gather_rows %{{.*}}[%ids] limit 3 : (tensor<3x1xf32>, tensor<5xi32>) -> tensor<5x1xf32>
  // CHECK: nn.map "mul"([[WIDE]], [[FACTOR]]) {value = "embedded"}
  %picked = nn.gather_rows %scaled[%ids] limit 3 {value = "embedded"} : (tensor<3x4xf32>, tensor<5xi32>) -> tensor<5x4xf32>
  func.return %picked : tensor<5x4xf32>
}
