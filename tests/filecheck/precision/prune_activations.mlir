// RUN: attnc-opt %s -p 'prune-activations{rules="*.up=0.5","*=0.25" precision=int8},skip-zeros{rules="*.up=0.5","*=0.25"}' | filecheck %s

// CHECK: func.func @main
func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x2xf32>, tensor<2x2xf32>, tensor<4x4xf32>) {
  %w = nn.constant dense<1.0> : tensor<4x2xf32>
  // What is going to be quantized is compared before, once for all that read it with one threshold.
  // CHECK: [[HALF:%.*]] = nn.constant dense<5.000000e-01>
  // CHECK: [[PRUNED:%.*]] = nn.map "prune"(%x, [[HALF]])
  // CHECK: nn.matmul [[PRUNED]], %{{.*}} threshold 5.000000e-01
  %0 = nn.matmul %x, %w {path = "encoder.0.ffn.up"} : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  // CHECK: nn.matmul [[PRUNED]], %{{.*}} threshold 5.000000e-01
  %1 = nn.matmul %x, %w {path = "encoder.1.ffn.up"} : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  // A constant on the left is no activation.
  // CHECK: nn.matmul %w, %x {path = "head"} :
  %2 = nn.matmul %w, %x {path = "head"} : (tensor<4x2xf32>, tensor<2x4xf32>) -> tensor<4x4xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} threshold 2.500000e-01
  %3 = nn.matmul %0, %x {path = "tail"} : (tensor<2x2xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %0, %1, %2 : tensor<2x2xf32>, tensor<2x2xf32>, tensor<4x4xf32>
}
